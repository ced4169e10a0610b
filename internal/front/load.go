package front

// Load is how much the Server has to do.
type Load struct {
	InFlight    int64  // requests under way, but for probes and live figures
	Connections int64  // of clients that are open
	Done        uint64 // requests of the API that have ended
}

// Load gives the present load. It costs a few dozen atomic reads.
func (s *Server) Load() (l Load) {
	l.InFlight, l.Connections = s.inFlight.Load(), s.stats.connections.Load()
	for op := range s.stats.requests {
		for class := range s.stats.requests[op] {
			l.Done += s.stats.requests[op][class].Load()
		}
	}
	return l
}
