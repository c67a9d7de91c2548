"""General-Purpose In-Context Learning by Meta-Learning Transformers (Kirsch, Harrison, Sohl-Dickstein and Metz, 2022), replicated."""
