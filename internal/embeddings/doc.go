// Package embeddings takes embedding calls and their replies apart and puts them
// together, so that a stage can have some inputs answered by itself and send others
// on: it splits a call's inputs, makes a call with other inputs, reads which vector
// of a reply is whose, shares the tokens out that the reply counts, and composes
// replies of vectors. How an API writes them is its Form, which the API's dialect has.
//
// It decodes nothing. An input is the JSON that the client sent, and a vector is
// the element of the reply, whatever is in it: floats or base64, of any dimension.
// Only the value of its index is another one where it stands in another place.
package embeddings
