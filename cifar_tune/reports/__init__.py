"""Reports: each computes a typed record from what is stored, and draws it in a second step."""
