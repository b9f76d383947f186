"""Programs compiled: traces rewritten by laws, printed as source, and run again without tracing."""
