"""`make sweep`: what a courier does by itself now and then, once and now."""
