package front

type forwarding struct{}

func newForwarding([]string) forwarding { return forwarding{} }
