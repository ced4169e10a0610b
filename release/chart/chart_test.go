// Package chart has the tests of the Helm chart: Helm's own linter and templates,
// Kubernetes' own schemas, and Sluice itself as the reader of the configuration.
package chart

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	groups "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

const (
	dir = "../../deploy/helm/sluice"
	// Whose schemas manifests are held against: a fixed version, as a newer one may
	// have dropped what older ones want.
	kubernetes = "k8s.io/kubernetes@v1.37.2"
)

var hash = "sha256:" + strings.Repeat("0", 64)

// variants are values as an operator gives them.
var variants = map[string]string{
	"least": "secrets: {SLUICE_KEY_HASH: '" + hash + "'}",
	"all": `
fullnameOverride: gateway
existingSecret: keys
image: {repository: registry.example/sluice, tag: v1.2.3}
imagePullSecrets: [{name: pull}]
config:
  server:
    tls: {cert: /etc/tls/tls.crt, key: /etc/tls/tls.key}
    metrics_key: ${SLUICE_METRICS_HASH}
    drain_timeout: 30s
  upstreams: [{name: a, base_url: "https://a.example/v1", api_key: "${A_API_KEY}"}]
  state_dir: /var/tmp
env: [{name: OTEL_SERVICE_NAME, value: gateway}]
service: {type: LoadBalancer, port: 443, annotations: {a: b}}
autoscaling: {enabled: true}
networkPolicy:
  enabled: true
  from: [{namespaceSelector: {matchLabels: {team: a}}}]
  egress: [{ports: [{port: 443}]}]
serviceMonitor: {enabled: true, labels: {release: p}, credentials: {name: keys}}
podAnnotations: {a: b}
podLabels: {c: d}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: a, operator: Exists}]
affinity: {nodeAffinity: {}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
priorityClassName: high
extraVolumes: [{name: tls, secret: {secretName: tls}}]
extraVolumeMounts: [{name: tls, mountPath: /etc/tls, readOnly: true}]
`,
}

func values(t *testing.T, text string) (v map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// render gives the manifests by their kind, but for the test's pod.
func render(t *testing.T, text string) (byKind map[string][]byte, pod []byte, err error) {
	t.Helper()
	c, err := loader.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	v, err := chartutil.ToRenderValues(c, values(t, text), chartutil.ReleaseOptions{Name: "release", Namespace: "space", IsInstall: true}, nil)
	if err != nil {
		return nil, nil, err
	}
	out, err := engine.Render(c, v)
	if err != nil {
		return nil, nil, err
	}
	byKind = map[string][]byte{}
	for name, text := range out {
		if strings.TrimSpace(text) == "" || !strings.HasSuffix(name, ".yaml") {
			continue
		}
		var of struct{ Kind string }
		if err := yaml.Unmarshal([]byte(text), &of); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		switch {
		case strings.Contains(name, "/tests/"):
			pod = []byte(text)
		case byKind[of.Kind] != nil:
			t.Fatalf("%s is a second %s", name, of.Kind)
		default:
			byKind[of.Kind] = []byte(text)
		}
	}
	return byKind, pod, nil
}

func TestLint(t *testing.T) {
	for name, text := range variants {
		result := lint.All(dir, values(t, text), "space", true)
		for _, m := range result.Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

// TestRefuses: values that cannot be meant do not render.
func TestRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                               "Sluice asks other machines for keys",
		"{existingSecret: a, replicas: 3}": "replicas",
		"{existingSecret: a, service: {port: http}}": "port",
	} {
		if _, _, err := render(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestSchemas holds all that is rendered against the schemas of Kubernetes' API, and
// lets nothing pass that they do not know.
func TestSchemas(t *testing.T) {
	kinds := map[string]bool{}
	compiler, folder := schemas(t)
	for name, text := range variants {
		byKind, pod, err := render(t, text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if name == "least" {
			byKind["Pod"] = pod
		} else if pod != nil {
			t.Errorf("%s: the test's pod would not know the certificate", name)
		}
		for kind, manifest := range byKind {
			kinds[kind] = true
			if kind == "ServiceMonitor" { // the operator's own
				if err := yaml.UnmarshalStrict(manifest, &monitoring.ServiceMonitor{}); err != nil {
					t.Errorf("%s: %v\n%s", name, err, manifest)
				}
				continue
			}
			js, err := yaml.YAMLToJSONStrict(manifest)
			if err != nil {
				t.Fatal(err)
			}
			value, err := jsonschema.UnmarshalJSON(bytes.NewReader(js))
			if err != nil {
				t.Fatal(err)
			}
			version, _ := value.(map[string]any)["apiVersion"].(string)
			if !scheme.Scheme.Recognizes(groups.FromAPIVersionAndKind(version, kind)) {
				t.Errorf("%s %s is not in ./offline, so that the linter does not look whether it is deprecated", version, kind)
			}
			schema, err := compiler.Compile(schemaOf(t, compiler, folder, version, kind))
			if err != nil {
				t.Fatalf("%s %s: %v", version, kind, err)
			}
			if err := schema.Validate(value); err != nil {
				t.Errorf("%s: %v\n%s", name, err, manifest)
			}
		}
	}
	want := "ConfigMap Deployment HorizontalPodAutoscaler NetworkPolicy Pod PodDisruptionBudget Secret Service ServiceMonitor"
	if got := strings.Join(slices.Sorted(maps.Keys(kinds)), " "); got != want {
		t.Errorf("there are %s", got)
	}
	// It does find faults.
	schema, err := compiler.Compile(schemaOf(t, compiler, folder, "v1", "Service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		`{"apiVersion":"v1","kind":"Service","spec":{"prots":[]}}`,
		`{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"name":"a"}]}}`,
		`{"apiVersion":"v1","kind":"Service","spec":{"ports":[{"port":"80"}]}}`,
	} {
		value, _ := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		if schema.Validate(value) == nil {
			t.Errorf("%s passes", bad)
		}
	}
}

// schemas has the folder with the schemas that Kubernetes' own module holds.
func schemas(t *testing.T) (*jsonschema.Compiler, string) {
	t.Helper()
	download := exec.Command("go", "mod", "download", "-json", kubernetes)
	download.Dir = t.TempDir() // outside of a module, so that none comes to require it
	out, err := download.Output()
	var module struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &module); err != nil || jsonErr != nil || module.Dir == "" {
		t.Fatalf("%s: %v %v %s", kubernetes, err, jsonErr, module.Error)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7)
	return compiler, filepath.Join(module.Dir, "api/openapi-spec/v3")
}

// schemaOf adds the document that holds a kind's schema, once, and gives its address.
func schemaOf(t *testing.T, compiler *jsonschema.Compiler, folder, version, kind string) string {
	t.Helper()
	group, v, ok := strings.Cut(version, "/")
	file := "apis__" + group + "__" + v + "_openapi.json"
	if !ok {
		group, v = "core", version
		file = "api__" + version + "_openapi.json"
	}
	b, err := os.ReadFile(filepath.Join(folder, file))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	all := doc.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any)
	for _, s := range all {
		closed(s)
	}
	url := "file:///" + file
	if err := compiler.AddResource(url, doc); err != nil && !strings.Contains(err.Error(), "exists") {
		t.Fatal(err)
	}
	for name := range all {
		if strings.HasSuffix(name, "."+v+"."+kind) && strings.HasPrefix(name, "io.k8s.api.") && (group == "core") == strings.HasPrefix(name, "io.k8s.api.core.") {
			return url + "#/components/schemas/" + name
		}
	}
	t.Fatalf("%s has no %s", file, kind)
	return ""
}

// closed has an object's schema refuse what it does not name.
func closed(s any) {
	object, ok := s.(map[string]any)
	if !ok {
		return
	}
	if _, some := object["properties"]; some && object["additionalProperties"] == nil {
		object["additionalProperties"] = false
	}
}

// TestTogether: what parts say of each other holds, and a pod has what it needs and
// may do nothing else.
func TestTogether(t *testing.T) {
	for name, text := range variants {
		byKind, pod, err := render(t, text)
		if err != nil {
			t.Fatal(err)
		}
		var (
			d apps.Deployment
			s core.Service
			c core.ConfigMap
		)
		into(t, byKind["Deployment"], &d)
		into(t, byKind["Service"], &s)
		into(t, byKind["ConfigMap"], &c)
		labels := d.Spec.Template.Labels
		selects := func(what string, selector map[string]string) {
			t.Helper()
			if len(selector) == 0 {
				t.Errorf("%s: %s selects everything", name, what)
			}
			for k, v := range selector {
				if labels[k] != v {
					t.Errorf("%s: %s asks for %s=%s, and pods have %v", name, what, k, v, labels)
				}
			}
		}
		selects("the Deployment", d.Spec.Selector.MatchLabels)
		selects("the Service", s.Spec.Selector)
		for _, kind := range []string{"PodDisruptionBudget", "NetworkPolicy"} {
			var of struct {
				Spec struct {
					Selector, PodSelector struct{ MatchLabels map[string]string }
				}
			}
			if manifest := byKind[kind]; manifest != nil {
				into(t, manifest, &of)
				selects(kind, firstOf(of.Spec.Selector.MatchLabels, of.Spec.PodSelector.MatchLabels))
			}
		}
		if pod != nil {
			var p core.Pod
			into(t, pod, &p)
			matches := true
			for k, v := range s.Spec.Selector {
				matches = matches && p.Labels[k] == v
			}
			if matches {
				t.Errorf("%s: the Service would hand requests to the test's pod", name)
			}
		}
		container := d.Spec.Template.Spec.Containers[0]
		if port := container.Ports[0]; s.Spec.Ports[0].TargetPort.StrVal != port.Name || container.ReadinessProbe.HTTPGet.Port.StrVal != port.Name || container.LivenessProbe.HTTPGet.Port.StrVal != port.Name {
			t.Errorf("%s: ports %+v, %+v", name, s.Spec.Ports, container.Ports)
		}
		if container.Resources.Limits.Memory().IsZero() || !*container.SecurityContext.ReadOnlyRootFilesystem || *container.SecurityContext.AllowPrivilegeEscalation || !*d.Spec.Template.Spec.SecurityContext.RunAsNonRoot {
			t.Errorf("%s: %+v", name, container)
		}
		if d.Spec.Template.Spec.Volumes[0].ConfigMap.Name != c.Name {
			t.Errorf("%s: the configuration is in %s", name, c.Name)
		}
		if (byKind["HorizontalPodAutoscaler"] != nil) == (d.Spec.Replicas != nil) {
			t.Errorf("%s: two say how many there are, or nobody", name)
		}
	}
}

// TestConfigLoads has Sluice check the configuration as it finds it in a pod.
func TestConfigLoads(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "sluice")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", bin, "./cmd/sluice")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, text := range variants {
		byKind, _, err := render(t, text)
		if err != nil {
			t.Fatal(err)
		}
		var (
			d apps.Deployment
			c core.ConfigMap
			s core.Secret
		)
		into(t, byKind["Deployment"], &d)
		into(t, byKind["ConfigMap"], &c)
		secrets := map[string]string{"SLUICE_KEY_HASH": hash, "SLUICE_METRICS_HASH": hash, "A_API_KEY": "a"} // of one that exists
		if byKind["Secret"] != nil {
			into(t, byKind["Secret"], &s)
			secrets = s.StringData
		}
		container := d.Spec.Template.Spec.Containers[0]
		file := filepath.Join(t.TempDir(), "sluice.yaml")
		config := strings.ReplaceAll(c.Data["sluice.yaml"], "/etc/tls/", certificate(t)+"/")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		check := exec.Command(bin, "check")
		for _, e := range container.Env {
			check.Env = append(check.Env, e.Name+"="+strings.Replace(e.Value, "/etc/sluice/sluice.yaml", file, 1))
		}
		for k, v := range secrets {
			check.Env = append(check.Env, k+"="+v)
		}
		out, err := check.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s\n%s", name, err, out, config)
		}
		var effective struct {
			Server struct {
				Host         string
				Port         int32
				DrainTimeout string `json:"drain_timeout"`
			}
		}
		if err := yaml.Unmarshal(out, &effective); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if e := effective.Server; e.Host != "0.0.0.0" || e.Port != container.Ports[0].ContainerPort {
			t.Errorf("%s: it listens on %s, port %d", name, e.Host, e.Port)
		}
		drain, err := time.ParseDuration(effective.Server.DrainTimeout)
		if err != nil {
			t.Fatal(err)
		}
		grace := time.Duration(*d.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
		if before := time.Duration(container.Lifecycle.PreStop.Sleep.Seconds) * time.Second; before+drain >= grace {
			t.Errorf("%s: killed after %v, while it waits %v and drains for %v", name, grace, before, drain)
		}
		if fmt.Sprint(container.Args) != "[serve]" {
			t.Errorf("%s: %v", name, container.Args)
		}
	}
}

// certificate gives a folder with tls.crt and tls.key.
func certificate(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	pair, folder := server.TLS.Certificates[0], t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "tls.key": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(folder, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func into(t *testing.T, manifest []byte, v any) {
	t.Helper()
	if err := yaml.Unmarshal(manifest, v); err != nil || len(manifest) == 0 {
		t.Fatalf("%v\n%s", err, manifest)
	}
}

func firstOf(maps ...map[string]string) map[string]string {
	for _, m := range maps {
		if len(m) > 0 {
			return m
		}
	}
	return nil
}
