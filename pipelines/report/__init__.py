"""Looking at datasets: figures of every image and mask, the report that shows them."""
