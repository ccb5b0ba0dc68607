//go:build tools

package peers

import _ "github.com/golang-migrate/migrate/v4/cmd/migrate"
