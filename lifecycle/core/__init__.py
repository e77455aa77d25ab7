"""What every room uses; it imports no other."""
