"""Does your language model truly unlearn? The library behind the workflow of arXiv 2410.16454."""
