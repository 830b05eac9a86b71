"""One real photo through the whole service, and a check of everything that comes back."""
