package chart

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const (
	chartDir  = "../../deploy/helm/wflo"
	release   = "wflo"
	namespace = "agents"
)

// object is a rendered object, with the template that it is from.
type object struct {
	unstructured.Unstructured
	raw    []byte
	source string
}

// id is KIND NAMESPACE/NAME, or KIND NAME where it has no namespace of its own.
func (o object) id() string {
	if ns := o.GetNamespace(); ns != "" {
		return o.GetKind() + " " + ns + "/" + o.GetName()
	}
	return o.GetKind() + " " + o.GetName()
}

// sets are the names of the files in testdata/values.
func sets(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("sets of values: %v, %v", files, err)
	}
	names := make([]string, 0, len(files))
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".yaml"))
	}
	return names
}

// valuesOf reads a set of values; with lines that are merged into it.
func valuesOf(t *testing.T, set string, with ...string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/values", set+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatalf("%s: %v", set, err)
	}
	for _, lines := range with {
		more := map[string]any{}
		if err := yaml.UnmarshalStrict([]byte(lines), &more); err != nil {
			t.Fatalf("%s: %v", lines, err)
		}
		values = loader.MergeMaps(values, more)
	}
	return values
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatalf("load chart: %v", err)
	}
	return c
}

// renderAs renders the chart as Helm does for the named release.
func renderAs(c *chart.Chart, name string, values map[string]any) (map[string]string, error) {
	full, err := util.ToRenderValues(c, values, common.ReleaseOptions{Name: name, Namespace: namespace, Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	e := engine.Engine{Strict: true}
	return e.Render(c, full)
}

// render gives the objects of a set of values, in the order of templates.
func render(t *testing.T, set string, with ...string) []object {
	t.Helper()
	files, err := renderAs(load(t), release, valuesOf(t, set, with...))
	if err != nil {
		t.Fatalf("render %s: %v", set, err)
	}
	return objectsIn(t, files)
}

func objectsIn(t *testing.T, files map[string]string) []object {
	t.Helper()
	var all []object
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(path, ".yaml") {
			continue
		}
		docs := utilyaml.NewYAMLReader(newReader(files[path]))
		for {
			doc, err := docs.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if o, ok := decode(t, path, doc); ok {
				all = append(all, o)
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("nothing was rendered")
	}
	return all
}

// decode reads one document; a key that stands twice is an error.
func decode(t *testing.T, path string, doc []byte) (object, bool) {
	t.Helper()
	js, err := yaml.YAMLToJSONStrict(doc)
	if err != nil {
		t.Fatalf("%s: %v\n%s", path, err, doc)
	}
	if bytes.Equal(bytes.TrimSpace(js), []byte("null")) {
		return object{}, false
	}
	o := object{raw: js, source: path}
	if err := o.UnmarshalJSON(js); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, doc)
	}
	return o, true
}

// the gives the object with this id.
func the(t *testing.T, all []object, id string) object {
	t.Helper()
	var known []string
	for _, o := range all {
		if o.id() == id {
			return o
		}
		known = append(known, o.id())
	}
	t.Fatalf("no %s among %s", id, strings.Join(known, ", "))
	return object{}
}
