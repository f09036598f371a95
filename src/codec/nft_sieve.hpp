// What libnftnl gets to see of a message of the kernel: a copy that holds only listed attributes, each of the form that
// the list gives it.
//
// libnftnl trusts the kernel: it ends the process at an attribute that is too long (abi_breakage), reads past one that
// is too short, and follows pointers that were never set where a verdict lacks its chain. The kernel sends none of
// these, but no byte that is received may end the lock's guard. Attributes of newer kernels are left out, and those
// that would change the meaning of what is ours are listed as foreign.
// @source libnftnl src/{utils,expr,set_elem,rule,chain}.c, src/expr/data_reg.c
#pragma once

#include "killswitch/codec/netlink.hpp"

#include <linux/netfilter/nf_tables.h>

#include <cstdint>
#include <span>
#include <vector>

namespace killswitch::codec {

enum class Form : std::uint8_t {
  u8,
  u16,
  u32,
  u64,
  text,     ///< a name; in the copy it ends with a zero, which libnftnl itself does not always write
  bytes,    ///< of any length but none
  value,    ///< what a register can hold: 1 to 64 bytes
  nest,     ///< attributes: `inside` lists them
  list,     ///< the same, and nothing that is not listed
  verdict,  ///< a nest with a verdict that libnftnl can read
  foreign,  ///< never written by this program, and not to be ignored
};

struct Known {
  std::uint16_t type;
  Form form;
  std::span<const Known> inside{};
};

enum class Sieved : std::uint8_t {
  whole,    ///< everything that is listed and was there has been copied
  foreign,  ///< there was something that is not ours
  broken,   ///< an attribute has another form than listed, or lengths do not add up
};

/// NFTA_SET_ELEM_KEY, NFTA_CMP_DATA and the like
inline constexpr Known value_data[] = {{NFTA_DATA_VALUE, Form::value}, {NFTA_DATA_VERDICT, Form::foreign}};
/// NFTA_SET_ELEM_DATA and NFTA_IMMEDIATE_DATA
inline constexpr Known verdict_data[] = {{NFTA_DATA_VALUE, Form::foreign}, {NFTA_DATA_VERDICT, Form::verdict}};

class Sieve {
public:
  /// Starts the copy with the headers of `message`, which must hold a nfgenmsg.
  explicit Sieve(const nlmsghdr& message);

  /// Copies what is listed of `attributes`.
  [[nodiscard]] Sieved copy(Span attributes, std::span<const Known> known);
  /// Opens a nest in the copy. @return for `end`, or for `cancel`, which takes away all that was copied since
  [[nodiscard]] nlattr* start(std::uint16_t type) { return mnl_attr_nest_start(message_, type); }
  void end(nlattr* nest) { mnl_attr_nest_end(message_, nest); }
  void cancel(nlattr* nest) { mnl_attr_nest_cancel(message_, nest); }

  [[nodiscard]] const nlmsghdr* message() const { return message_; }

private:
  [[nodiscard]] Sieved copy_one(const nlattr& attribute, const Known& known);
  [[nodiscard]] Sieved copy_nest(const nlattr& attribute, const Known& known);
  [[nodiscard]] Sieved copy_verdict(const nlattr& attribute);

  std::vector<std::uint8_t> buffer_;
  nlmsghdr* message_;
};

}  // namespace killswitch::codec
