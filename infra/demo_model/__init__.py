"""The model that serves where no weights can be had."""
