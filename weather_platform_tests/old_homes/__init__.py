"""Homes made by earlier versions of this package, kept so that the present one is tested on them."""
