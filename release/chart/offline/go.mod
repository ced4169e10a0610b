// What Helm's templates and its linter use of Kubernetes' client where there is no cluster. The
// whole of it brings all kinds that Kubernetes has, most of what the chart's tests would compile.
module k8s.io/client-go

go 1.26.0

require (
	k8s.io/api v0.37.2
	k8s.io/apimachinery v0.37.2
)
