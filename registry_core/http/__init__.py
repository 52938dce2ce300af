"""HTTP for the data path and for Django: bodies, headers, fairness between clients, thread pools."""
