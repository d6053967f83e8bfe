"""What each command does after its arguments are parsed: call the product, print the answer."""
