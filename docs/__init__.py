"""The book: its pages are Markdown, and what is here makes a site of them."""
