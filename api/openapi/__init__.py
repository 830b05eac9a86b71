"""What /openapi.json says (reading order: patterns requests bodies examples answers document)."""
