"""Events on their way to a file, and back."""
