"""Pull requests in simulated lives: a forge and its people, what it delivers, and what is promised of previews."""
