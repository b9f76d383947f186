"""The tests of fgrad."""
