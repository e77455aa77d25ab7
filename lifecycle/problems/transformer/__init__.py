"""A pretrained network fine-tuned to tell the class of one text, or of two: the second is read in the light of the first."""
