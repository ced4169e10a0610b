package dedup

// bytesPerToken is how many bytes of a repeated text, as it stands in a body, are a token.
const bytesPerToken = 3.9
