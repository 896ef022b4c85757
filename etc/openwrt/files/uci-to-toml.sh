#!/bin/sh
# The UCI configuration of minimta as a minimta.toml, on standard output. Sourced by /etc/init.d/minimta, after
# /lib/functions.sh, whose config_load and config_get it uses.

# A value as TOML writes it.
toml_text() { printf '"%s"' "$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g')"; }

# toml_option SECTION OPTION: a line, if the option is set.
toml_option() {
	local value
	config_get value "$1" "$2"
	[ -n "$value" ] || return 0
	case $2 in
	port) printf '%s = %s\n' "$2" "$value" ;;
	*) printf '%s = %s\n' "$2" "$(toml_text "$value")" ;;
	esac
}

minimta_toml() {
	local host user option
	echo '# Made from /etc/config/minimta by /etc/init.d/minimta; changes belong there.'
	toml_option main hostname
	config_get host smarthost host
	if [ -n "$host" ]; then
		printf '\n[smarthost]\n'
		for option in host port tls from; do toml_option smarthost $option; done
		config_get user smarthost user
		if [ -n "$user" ]; then
			toml_option smarthost user
			toml_option smarthost password_file
		fi
	fi
	printf '\n[queue]\n'
	toml_option main spool
}
