// Package dynamic has what a template would look something up with, if there were a cluster.
package dynamic

import (
	"context"
	"errors"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// Interface is of all kinds.
type Interface interface {
	Resource(schema.GroupVersionResource) NamespaceableResourceInterface
}

// NamespaceableResourceInterface is of one kind.
type NamespaceableResourceInterface interface {
	Namespace(string) ResourceInterface
	ResourceInterface
}

// ResourceInterface is of one kind in one namespace.
type ResourceInterface interface {
	Get(context.Context, string, meta.GetOptions, ...string) (*unstructured.Unstructured, error)
	List(context.Context, meta.ListOptions) (*unstructured.UnstructuredList, error)
}

// NewForConfig fails.
func NewForConfig(*rest.Config) (Interface, error) { return nil, errors.New("there is no cluster") }
