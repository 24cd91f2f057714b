package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

const (
	sumsFile       = "SHA256SUMS"
	provenanceFile = "provenance.intoto.json"

	repository    = "git+https://github.com/wflo-ai/wflo-go"
	buildType     = "https://github.com/wflo-ai/wflo-go/blob/main/deploy/release.sh"
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://slsa.dev/provenance/v1"
)

// build is what was built, from what and by whom.
type build struct{ version, commit, builder, targets, programs string }

// digests are by the algorithm, in hex.
type digests map[string]string

// statement is an in-toto statement, https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md,
// with provenance as https://slsa.dev/spec/v1.0/provenance has it.
type statement struct {
	Type          string     `json:"_type"`
	Subject       []subject  `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     provenance `json:"predicate"`
}

type subject struct {
	Name   string  `json:"name"`
	Digest digests `json:"digest"`
}

type provenance struct {
	BuildDefinition definition `json:"buildDefinition"`
	RunDetails      details    `json:"runDetails"`
}

type definition struct {
	BuildType            string            `json:"buildType"`
	ExternalParameters   map[string]string `json:"externalParameters"`
	InternalParameters   map[string]string `json:"internalParameters"`
	ResolvedDependencies []dependency      `json:"resolvedDependencies"`
}

type dependency struct {
	URI    string  `json:"uri"`
	Digest digests `json:"digest,omitempty"`
}

type details struct {
	Builder struct {
		ID string `json:"id"`
	} `json:"builder"`
}

// write sums up the files of dir and says where they come from. There is no time in it:
// the same commit gives the same statement.
func (b build) write(dir string) error {
	files, err := filesOf(dir)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s has no files", dir)
	}
	var sums strings.Builder
	s := statement{Type: statementType, PredicateType: predicateType}
	for _, name := range files {
		sum, err := sumOf(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%s  %s\n", sum, name)
		s.Subject = append(s.Subject, subject{Name: name, Digest: digests{"sha256": sum}})
	}
	s.Predicate.BuildDefinition = definition{
		BuildType:          buildType,
		ExternalParameters: map[string]string{"version": b.version, "targets": b.targets, "programs": b.programs},
		InternalParameters: map[string]string{"go": runtime.Version()},
		ResolvedDependencies: []dependency{
			{URI: repository + "@refs/tags/" + b.version, Digest: digests{"gitCommit": b.commit}},
		},
	}
	s.Predicate.RunDetails.Builder.ID = b.builder
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode statement: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, provenanceFile), append(text, '\n'), 0o644); err != nil { //nolint:gosec // for everybody
		return fmt.Errorf("write statement: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, sumsFile), []byte(sums.String()), 0o644); err != nil { //nolint:gosec // for everybody
		return fmt.Errorf("write sums: %w", err)
	}
	return nil
}

// check reads a release as somebody who downloaded it does.
func check(dir string) error {
	sums, err := readSums(filepath.Join(dir, sumsFile))
	if err != nil {
		return err
	}
	files, err := filesOf(dir)
	if err != nil {
		return err
	}
	for _, name := range files {
		got, err := sumOf(filepath.Join(dir, name))
		switch want, listed := sums[name]; {
		case err != nil:
			return err
		case !listed:
			return fmt.Errorf("%s is not in %s", name, sumsFile)
		case got != want:
			return fmt.Errorf("%s was changed: its SHA-256 is %s, %s says %s", name, got, sumsFile, want)
		}
		if strings.HasSuffix(name, ".cdx.json") {
			if err := checkBill(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	if len(files) != len(sums) {
		return fmt.Errorf("%s lists %d files, %s has %d", sumsFile, len(sums), dir, len(files))
	}
	return checkStatement(filepath.Join(dir, provenanceFile), sums)
}

// checkStatement compares the subjects of a statement with the sums.
func checkStatement(path string, sums map[string]string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read statement: %w", err)
	}
	var s statement
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if s.Type != statementType || s.PredicateType != predicateType {
		return fmt.Errorf("%s is a %s about %s", path, s.Type, s.PredicateType)
	}
	for _, subject := range s.Subject {
		if want, listed := sums[subject.Name]; !listed || subject.Digest["sha256"] != want {
			return fmt.Errorf("the statement is about another %s", subject.Name)
		}
	}
	if len(s.Subject) != len(sums) {
		return fmt.Errorf("the statement is about %d files, not %d", len(s.Subject), len(sums))
	}
	return nil
}

// checkBill reads a bill of materials: it names a program, with what is in it, by version
// and package URL, and among that Go's own library, whose faults are faults of the program.
func checkBill(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read bill of materials: %w", err)
	}
	defer f.Close()
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(f, cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if bom.BOMFormat != cyclonedx.BOMFormat || bom.Metadata == nil || bom.Metadata.Component == nil || bom.Components == nil {
		return fmt.Errorf("%s is not a bill of materials of a program", path)
	}
	std := false
	for _, c := range *bom.Components {
		if c.Name == "" || c.Version == "" || !strings.HasPrefix(c.PackageURL, "pkg:golang/") {
			return fmt.Errorf("%s: component %q has no version or package URL", path, c.Name)
		}
		std = std || c.Name == "std"
	}
	if !std {
		return fmt.Errorf("%s does not say which Go it was built with", path)
	}
	return nil
}

// filesOf lists the files of a release in order, without the two that are about them.
func filesOf(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list release: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !e.Type().IsRegular() {
			return nil, fmt.Errorf("%s is not a file", e.Name())
		}
		if e.Name() != sumsFile && e.Name() != provenanceFile {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("sum up: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("sum up %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readSums reads lines as sha256sum writes them.
func readSums(path string) (map[string]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read sums: %w", err)
	}
	sums := map[string]string{}
	for line := range strings.Lines(string(text)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if _, err := hex.DecodeString(sum); !ok || err != nil || len(sum) != 64 || name == "" || strings.ContainsAny(name, "/\\") || sums[name] != "" {
			return nil, fmt.Errorf("%s: the line %q is none of sha256sum", path, line)
		}
		sums[name] = sum
	}
	return sums, nil
}
