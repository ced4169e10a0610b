//go:build !poison

package memory

// ownership is what is known of who has a buffer: nothing, but with the build tag
// poison.
type ownership struct{}

func (b *Buffer) lent()     { b.state = ownership{} }
func (b *Buffer) returned() { b.state = ownership{} }
