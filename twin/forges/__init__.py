"""What every provider of a forge needs: HTTP to one place alone, whole listings, one comment, names, failures."""
