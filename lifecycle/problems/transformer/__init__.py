"""A pretrained network, fine-tuned to tell the class of one text, or of two that it reads together."""
