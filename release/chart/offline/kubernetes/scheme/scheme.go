// Package scheme has the kinds that the chart may use, for Helm's linter to say which of them
// are deprecated. It is silent about others, so the chart's tests want all that are rendered here.
package scheme

import (
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Scheme has them registered.
var Scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	if err := AddToScheme(s); err != nil {
		panic(err)
	}
	return s
}()

// AddToScheme registers them.
func AddToScheme(s *runtime.Scheme) error {
	b := runtime.SchemeBuilder{apps.AddToScheme, autoscaling.AddToScheme, core.AddToScheme, networking.AddToScheme, policy.AddToScheme}
	return b.AddToScheme(s)
}
