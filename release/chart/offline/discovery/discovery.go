// Package discovery finds nothing, as there is no cluster.
package discovery

import (
	"errors"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// DiscoveryClient is never made.
type DiscoveryClient struct{}

// NewDiscoveryClientForConfig fails.
func NewDiscoveryClientForConfig(*rest.Config) (*DiscoveryClient, error) {
	return nil, errors.New("there is no cluster")
}

// ServerResourcesForGroupVersion has no client to be called of.
func (*DiscoveryClient) ServerResourcesForGroupVersion(string) (*meta.APIResourceList, error) {
	return nil, errors.New("there is no cluster")
}
