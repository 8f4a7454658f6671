"""One experiment under many settings and seeds. The only room that knows Optuna."""
