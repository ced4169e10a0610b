package llm

// Thread is a conversation that the gateway keeps, for services that keep none. A service
// that keeps them by itself does so under ids of its own, and has nothing to do with it.
type Thread struct {
	// ID is what the reply is to be known by where no service keeps it, "" for a reply that
	// nobody is to keep.
	ID string

	// Previous is the reply that the request goes on from, "" for none. What was said up to
	// then stands in the request's body.
	Previous string
}
