"""The author's side: events, fields and projection classes, and the definition, plain data, that is made of them."""
