// The objects of libnftnl as values that free themselves.
#pragma once

#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/gen.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>

#include <memory>
#include <new>
#include <string>

namespace killswitch::codec {

template <auto Free>
struct FreeWith {
  template <typename T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};
template <typename T, auto Free>
using Owned = std::unique_ptr<T, FreeWith<Free>>;

using TableObject = Owned<nftnl_table, nftnl_table_free>;
using ChainObject = Owned<nftnl_chain, nftnl_chain_free>;
using SetObject = Owned<nftnl_set, nftnl_set_free>;
using ElementObject = Owned<nftnl_set_elem, nftnl_set_elem_free>;
using RuleObject = Owned<nftnl_rule, nftnl_rule_free>;
using ExpressionIterator = Owned<nftnl_expr_iter, nftnl_expr_iter_destroy>;
using StatefulObject = Owned<nftnl_obj, nftnl_obj_free>;  ///< a counter
using GenerationObject = Owned<nftnl_gen, nftnl_gen_free>;
using UserData = Owned<nftnl_udata_buf, nftnl_udata_buf_free>;

/// For what libnftnl allocates: no memory is told as everywhere in C++.
template <typename T>
[[nodiscard]] T* allocated(T* object) {
  if (object == nullptr) {
    throw std::bad_alloc{};
  }
  return object;
}

/// libnftnl's texts, which are null when they are not set.
[[nodiscard]] inline std::string text_or_empty(const char* text) {
  return text == nullptr ? std::string{} : std::string{text};
}

}  // namespace killswitch::codec
