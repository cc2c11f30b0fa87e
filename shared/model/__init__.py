"""What is trained: the recipe, text as token ids, the classifier, and its metrics."""
