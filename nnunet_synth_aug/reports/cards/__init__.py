"""Cards of banks and generators: what each is, for people (README.md) and for programs (croissant.json)."""
