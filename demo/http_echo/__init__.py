"""http-echo: answers every request with one text, after hashicorp/http-echo (behaviour)."""
