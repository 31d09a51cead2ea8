"""Files of what is learned: training, encoders, prototypes, the slide graph, and what is made of them."""
