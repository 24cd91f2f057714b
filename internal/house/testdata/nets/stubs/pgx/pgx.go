// Package pgx stands in for the PostgreSQL driver.
package pgx
