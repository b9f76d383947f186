"""How the book is made: pages are run, notebooks and reference written, and a site built of all."""
