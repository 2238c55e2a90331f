"""Every example of the product page "Sessions & Authentication", in its order and in Python."""
