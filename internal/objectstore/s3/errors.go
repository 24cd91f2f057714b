package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/wflo-ai/wflo-go"
)

// isMissing says that the server has no such object.
func isMissing(err error) bool {
	var r minio.ErrorResponse
	return errors.As(err, &r) && r.Code == minio.NoSuchKey
}

func (s *Store) noBucket() error {
	return wflo.Errorf(wflo.CodeInvalid, "make the bucket, or name another one", "there is no bucket %s on %s", s.place.bucket, s.place.endpoint)
}

// explain gives an error that says what was being done, and a hint where a person can
// do something about it.
func (s *Store) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || wflo.CodeOf(err) != "" {
		return fmt.Errorf("%s: %w", doing, err)
	}
	var r minio.ErrorResponse
	if !errors.As(err, &r) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	switch r.Code {
	case minio.NoSuchBucket:
		return s.noBucket()
	case minio.InvalidBucketName:
		return wflo.Errorf(wflo.CodeInvalid, "name a bucket with 3 to 63 lower-case letters, digits, dots and hyphens", "%s: %w", doing, err)
	case minio.InvalidAccessKeyID, minio.SignatureDoesNotMatch, "ExpiredToken", "InvalidTokenId", "InvalidToken":
		return wflo.Errorf(wflo.CodeMissingKey, "check the access key and its secret, and that the endpoint is theirs", "%s: the credentials are refused (%s)", doing, r.Code)
	case minio.RequestTimeTooSkewed:
		return wflo.Errorf(wflo.CodeInvalid, "set the clock of this machine, or of the server", "%s: the clocks of this machine and of the server are too far apart", doing)
	case minio.AuthorizationHeaderMalformed, minio.InvalidRegion, "PermanentRedirect", "IllegalLocationConstraintException":
		return wflo.Errorf(wflo.CodeInvalid, "set region= to the bucket's region", "%s: the bucket is in another region (%s)", doing, r.Code)
	case minio.AccessDenied, "AllAccessDisabled":
		return wflo.Errorf(wflo.CodeMissingKey, "allow s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject on its objects", "%s: access is denied", doing)
	}
	if r.StatusCode == http.StatusForbidden {
		return wflo.Errorf(wflo.CodeMissingKey, "check the credentials and the bucket's policy", "%s: the server refuses (%s)", doing, r.Code)
	}
	return fmt.Errorf("%s: %w (%s)", doing, err, r.Code)
}
