"""Pictures of what was computed; they are returned as values, and no window is opened."""
