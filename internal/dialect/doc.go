// Package dialect is the vocabulary that the APIs of model services are translated
// through: a Conversation is what a request says, a sequence of Events what a reply does,
// whichever API it was said in. Each dialect is a folder below this one that reads its own
// requests and replies into the vocabulary and writes them from it, so that N dialects take
// N readers and writers and no pair is written anywhere. The folder says too what else the
// gateway has to know of the API: see API.
//
// It promises that texts keep their bytes: they travel as the JSON strings that they were,
// escapes included, since those are the same in all dialects. And nothing is lost in
// silence: whatever a reader has no word for, or a writer no place, is named in the
// conversation's Lost.
package dialect
