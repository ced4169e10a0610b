package llm

// Groups tells who may answer for a model. Routing does; a stage in front of it
// asks where requests that go to the same upstreams are alike to it, as they are
// to one that stores replies or sends requests on together. It is safe for
// concurrent use.
type Groups interface {
	// Group gives a digest of the upstreams that may answer for a model as a
	// client names it, "" for no name, and the model's name as resolved: what
	// those upstreams call it. Two models with the same digest are answered by
	// the same upstreams under the same names. ok is false while nobody is known
	// to serve the model.
	//
	// It neither waits nor asks an upstream, so its answer may be another one a
	// moment later: a stage that keeps something by the digest asks again before
	// it does.
	Group(model string) (id [32]byte, name string, ok bool)
}
