# Completion of killswitch for bash. Installed as …/bash-completion/completions/killswitch

# The names that --policy may have, from the command itself.
_killswitch_policies() {
	killswitch policy list 2>/dev/null | sed -n 's/^\([^ ]\{1,\}\) .*/\1/p'
}

# Files that end in one of the suffixes, and directories: _killswitch_files WORD SUFFIX…
_killswitch_files() {
	local word=$1 file
	shift
	compopt -o filenames 2>/dev/null
	while IFS= read -r file; do
		COMPREPLY+=("$file")
	done < <(
		compgen -d -- "$word"
		for suffix in "$@"; do
			compgen -f -X "!*$suffix" -- "$word"
		done
	)
}

# Words that begin with WORD: _killswitch_words WORD CANDIDATE…
_killswitch_words() {
	local word=$1
	shift
	mapfile -t COMPREPLY < <(compgen -W "$*" -- "$word")
}

_killswitch() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} i
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		_killswitch_words "$word" enable confirm disable status rules explain test blocked connect policy hook --help --version
		return
	fi
	for ((i = 2; i < COMP_CWORD; i++)); do
		if [ "${COMP_WORDS[i]}" = -- ]; then
			_killswitch_files "$word" '' # options of OpenVPN
			return
		fi
	done
	case $before in
	--config)
		_killswitch_files "$word" .ovpn .conf
		return
		;;
	--policy)
		_killswitch_words "$word" "$(_killswitch_policies)"
		[ ${#COMPREPLY[@]} -gt 0 ] || _killswitch_files "$word" .json
		return
		;;
	--interface)
		_killswitch_words "$word" "$(cd /sys/class/net && echo *)"
		return
		;;
	--networkmanager)
		_killswitch_words "$word" "$(nmcli -g type,uuid connection show 2>/dev/null | sed -n 's/^vpn://p')"
		return
		;;
	--transport-program)
		_killswitch_files "$word" ''
		return
		;;
	--server | --try) return ;;
	esac
	case $command in
	enable)
		_killswitch_words "$word" --config --server --networkmanager --interface --transport-program --policy --try --yes --offline --json --help
		;;
	confirm) _killswitch_words "$word" --json --help ;;
	disable) _killswitch_words "$word" --offline --json --help ;;
	status) _killswitch_words "$word" --json --watch --help ;;
	blocked) _killswitch_words "$word" --follow --json --help ;;
	rules | explain | test) _killswitch_words "$word" --json --help ;;
	connect)
		if [[ $word == -* ]]; then
			_killswitch_words "$word" --policy --yes --help --
		else
			_killswitch_files "$word" .ovpn .conf
		fi
		;;
	hook)
		if [ "$COMP_CWORD" -eq 2 ]; then
			_killswitch_words "$word" networkmanager --help
		else
			_killswitch_words "$word" --help
		fi
		;;
	policy)
		if [ "$COMP_CWORD" -eq 2 ]; then
			_killswitch_words "$word" list show check --help
			return
		fi
		case ${COMP_WORDS[2]} in
		list) _killswitch_words "$word" --json --help ;;
		show) _killswitch_words "$word" --help "$(_killswitch_policies)" ;;
		check)
			_killswitch_words "$word" --help
			[[ $word == -* ]] || _killswitch_files "$word" .json
			;;
		esac
		;;
	esac
}

complete -F _killswitch killswitch
