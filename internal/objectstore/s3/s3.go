// Package s3 keeps blobs in a bucket of Amazon S3, MinIO, or what speaks like them.
// [Open] gives a [Store], which implements activities.BlobStore.
//
// An object's name ends in the SHA-256 of its content. What is read is hashed again:
// an answer that is cut off or wrong is asked for anew, and is an error in the end. A
// blob that is stored again is not sent again; the server copies it onto itself, so that
// it counts as new.
//
// S3 has no lock and no condition that tells an old object from the same one stored
// again, so Put and Delete keep apart by markers: Delete leaves one before it looks how
// old the blob is, and Put looks for one after it has stored the blob. Whichever was
// first, one of them sees the other.
//
// The package refuses URLs with credentials, connections without TLS to other machines
// unless it is told to make them, and to work without credentials at all. Credentials
// are in no error.
package s3

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/wflo-ai/wflo-go"
	"github.com/wflo-ai/wflo-go/activities"
)

var _ activities.BlobStore = (*Store)(nil)

const (
	// DefaultMaxBytes is the largest blob when Config.MaxBytes is zero: 64 MiB.
	DefaultMaxBytes = 64 << 20
	// DefaultTimeout is Config.Timeout where that is zero.
	DefaultTimeout = 2 * time.Minute
	// retries is how often a request is sent that the server or the network failed.
	retries = 5
)

// Config says where the bucket is.
type Config struct {
	// URL is s3://BUCKET/PREFIX, with these parameters, all of which may be left out:
	//
	//	region=eu-central-1              where the bucket is; asked for where it is missing
	//	endpoint=https://minio.lan:9000  the server; empty means Amazon's
	//	path_style=true                  the bucket is part of the path, not of the host's name
	//	insecure=true                    lets http endpoints be on other machines
	//
	// Required.
	URL string
	// AccessKeyID, SecretAccessKey and SessionToken are the credentials. Where they are
	// empty, they are looked for in AWS_ACCESS_KEY_ID and its like, MINIO_ROOT_USER and
	// its like, the file ~/.aws/credentials, and the role of the machine or its pod.
	AccessKeyID, SecretAccessKey, SessionToken string
	// MaxBytes is the largest blob; zero means DefaultMaxBytes.
	MaxBytes int64
	// Timeout bounds one call, all retries together; zero means DefaultTimeout.
	Timeout time.Duration
	// Transport sends the requests; nil means one with timeouts and the system's roots.
	Transport http.RoundTripper
}

// Store is an activities.BlobStore in a bucket. Its methods may be called at the same
// time, from any number of processes.
type Store struct {
	client  *minio.Client
	place   place
	max     int64
	timeout time.Duration
	idle    func()
	// abandoned is how long a Put looks at one marker before it takes its owner for dead.
	abandoned time.Duration
}

// place is what a URL says.
type place struct {
	bucket, prefix, region, endpoint string
	secure, pathStyle                bool
}

// Open looks whether the bucket is there and may be used. What is wrong with the
// configuration is an *wflo.Error with CodeInvalid, what is wrong with the credentials
// one with CodeMissingKey. The caller closes the store.
func Open(ctx context.Context, c Config) (*Store, error) {
	p, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	if c.MaxBytes < 0 || c.Timeout < 0 {
		return nil, wflo.Invalid("blobs.max_bytes or blobs.timeout", "is negative", "use 0 for the default, or a positive number")
	}
	if (c.AccessKeyID == "") != (c.SecretAccessKey == "") {
		return nil, wflo.Errorf(wflo.CodeMissingKey, "set both, or none to look for them elsewhere", "one of the access key's ID and its secret is empty")
	}
	s := &Store{place: p, max: c.MaxBytes, timeout: c.Timeout, idle: func() {}, abandoned: 2 * deleteTime}
	if s.max == 0 {
		s.max = DefaultMaxBytes
	}
	if s.timeout == 0 {
		s.timeout = DefaultTimeout
	}
	transport := c.Transport
	if transport == nil {
		own := newTransport()
		transport, s.idle = own, own.CloseIdleConnections
	}
	if err := s.connect(ctx, c, transport); err != nil {
		s.idle()
		return nil, err
	}
	return s, nil
}

func (s *Store) connect(ctx context.Context, c Config, transport http.RoundTripper) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	keys := newCredentials(c, transport)
	value, err := keys.GetWithContext(&credentials.CredContext{Client: &http.Client{Transport: transport, Timeout: metadataTime}})
	if err != nil || value.SignerType.IsAnonymous() {
		return wflo.Errorf(wflo.CodeMissingKey, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role", "no credentials for bucket %s", s.place.bucket)
	}
	lookup := minio.BucketLookupAuto
	if s.place.pathStyle {
		lookup = minio.BucketLookupPath
	}
	s.client, err = minio.New(s.place.endpoint, &minio.Options{
		Creds: keys, Secure: s.place.secure, Region: s.place.region, BucketLookup: lookup, Transport: transport, MaxRetries: retries,
	})
	if err != nil {
		return wflo.Errorf(wflo.CodeInvalid, "name the server as https://host:port", "endpoint %q: %w", s.place.endpoint, err)
	}
	there, err := s.client.BucketExists(ctx, s.place.bucket)
	if err != nil {
		return s.explain("look for bucket "+s.place.bucket, err)
	}
	if !there {
		return s.noBucket()
	}
	return nil
}

// Close lets go of idle connections.
func (s *Store) Close() error {
	s.idle()
	return nil
}

// metadataTime bounds the question for the credentials of a machine's role.
const metadataTime = 5 * time.Second

func newCredentials(c Config, transport http.RoundTripper) *credentials.Credentials {
	if c.AccessKeyID != "" {
		return credentials.NewStaticV4(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.EnvMinio{}, &credentials.FileAWSCredentials{},
		&credentials.IAM{Client: &http.Client{Transport: transport, Timeout: metadataTime}},
	})
}

func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		DisableCompression:    true, // the hash is of what is stored
	}
}

func parseURL(text string) (place, error) {
	const hint = "write s3://BUCKET/PREFIX?region=REGION, with &endpoint=https://host:port for servers other than Amazon's"
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.Port() != "" || u.Fragment != "" {
		return place{}, wflo.Invalid("blobs.url", "is not the URL of a bucket", hint) // not quoted: it may hold a password
	}
	if u.User != nil {
		return place{}, wflo.Invalid("blobs.url", "holds credentials", "put them into the environment: URLs are logged")
	}
	if err := s3utils.CheckValidBucketName(u.Host); err != nil {
		return place{}, wflo.Errorf(wflo.CodeInvalid, "name a bucket with 3 to 63 lower-case letters, digits, dots and hyphens", "blobs.url: %w", err)
	}
	p := place{bucket: u.Host, prefix: strings.Trim(u.Path, "/"), endpoint: "s3.amazonaws.com", secure: true}
	if p.prefix != "" {
		p.prefix += "/"
	}
	insecure := false
	for name, values := range u.Query() {
		value := values[len(values)-1]
		switch name {
		case "region":
			p.region = value
		case "endpoint":
			p.endpoint, p.secure, err = parseEndpoint(value)
		case "path_style":
			p.pathStyle, err = strconv.ParseBool(value)
		case "insecure":
			insecure, err = strconv.ParseBool(value)
		default:
			err = fmt.Errorf("has the parameter %q", name)
		}
		if err != nil {
			return place{}, wflo.Invalid("blobs.url", "is wrong at "+name, hint)
		}
	}
	if !p.secure && !insecure && !loopback(p.endpoint) {
		return place{}, wflo.Invalid("blobs.url", "names a server without TLS", "use https, or add insecure=true where the network is trusted")
	}
	return p, nil
}

func parseEndpoint(text string) (host string, secure bool, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", false, fmt.Errorf("is no endpoint")
	}
	return u.Host, u.Scheme == "https", nil
}

func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
