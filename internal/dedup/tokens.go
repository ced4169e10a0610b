package dedup

// bytesPerToken is how many bytes of a repeated text, as it stands in a body, are a token of
// o200k, by what `bench dedup` counts on recorded conversations (3.2 to 4.0 by kind). A tokenizer
// itself would make the binary half as large again: docs/decisions has the figures.
const bytesPerToken = 3.8
