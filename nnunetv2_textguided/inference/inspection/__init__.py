"""What a trained model is, read from its files without executing anything in them."""
