/* The XML reader's trees and bounds, and percent-decoding. */
#include "details.h"
#include "s3.h"

static smig_xml_t *parse(const char *text) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_xml_t *xml = smig_xml_parse(text, strlen(text), &error);
  if (!xml) {
    printf("# %s\n", error.message);
    exit(1);
  }
  return xml;
}

static void refuses(const char *text, size_t length, const char *why) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_xml_t *xml = smig_xml_parse(text, length, &error);
  CHECK(!xml, ": %.40s", text);
  CHECK_STR(error.name, "InvalidResponse");
  CHECK(error.message && strstr(error.message, why), ": %s", error.message);
  smig_xml_free(xml);
  smig_error_release(&error);
}

static void reads_a_listing(void) {
  smig_xml_t *xml = parse("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                          "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n"
                          "  <Name>b</Name><Prefix/>\n"
                          "  <Contents><Key>a&amp;b&#x20;&lt;&gt;&quot;&apos;</Key><Size>1</Size></Contents>\n"
                          "  <Contents><Key><![CDATA[<raw>]]></Key></Contents>\n"
                          "</ListBucketResult>");
  const smig_xml_node_t *root = smig_xml_root(xml), *contents = smig_xml_child(root, "Contents");
  CHECK_STR(root->name, "ListBucketResult");
  CHECK_STR(root->text, "");
  CHECK_STR(smig_xml_text(root, "Name"), "b");
  CHECK_STR(smig_xml_text(root, "Prefix"), "");
  CHECK(!smig_xml_text(root, "Marker"));
  CHECK_STR(smig_xml_text(contents, "Key"), "a&b <>\"'");
  CHECK(smig_xml_child(contents, "Key")->text_length == strlen("a&b <>\"'"));
  CHECK_STR(smig_xml_text(contents, "Size"), "1");
  CHECK_STR(smig_xml_text(contents->next, "Key"), "<raw>");
  CHECK(!contents->next->next);
  CHECK(!smig_xml_child(NULL, "Key") && !smig_xml_text(NULL, "Key"));
  smig_xml_free(xml);
}

static void skips_keep_alives_and_prefixes(void) {
  smig_xml_t *xml =
      parse(" \r\n\t \n<?xml version='1.0'?><s3:Error xmlns:s3='u'><s3:Code>SlowDown</s3:Code></s3:Error>");
  CHECK_STR(smig_xml_root(xml)->name, "Error");
  CHECK_STR(smig_xml_text(smig_xml_root(xml), "Code"), "SlowDown");
  smig_xml_free(xml);
}

static void keeps_blanks_of_a_leaf(void) {
  smig_xml_t *xml = parse("<a><b> x </b><c>  </c><d>one<e/>two</d></a>");
  CHECK_STR(smig_xml_text(smig_xml_root(xml), "b"), " x ");
  CHECK_STR(smig_xml_text(smig_xml_root(xml), "c"), "  ");
  CHECK_STR(smig_xml_text(smig_xml_root(xml), "d"), "onetwo");
  smig_xml_free(xml);
}

static void refuses_what_is_no_xml(void) {
  static const char *const texts[] = {"",         "   ",           "plain",       "<a>",         "<a></b>",
                                      "<a/><b/>", "<a>&nbsp;</a>", "<a>\x01</a>", "<a>\xff</a>", "<a"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) refuses(texts[i], strlen(texts[i]), "in line 1");
  refuses("<a>\0</a>", 8, "in line 1");
  refuses("<a>\n\n</b>", 8, "in line 3");
}

static void refuses_bombs(void) {
  static const char laughs[] =
      "<!DOCTYPE lolz [<!ENTITY lol \"lol\"><!ENTITY lol1 \"&lol;&lol;&lol;&lol;\">]><lolz>&lol1;</lolz>";
  static const char outside[] = "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>";
  refuses(laughs, strlen(laughs), "document type");
  refuses(outside, strlen(outside), "document type");
}

static void bounds_the_depth(void) {
  char text[1024] = "";
  for (int i = 0; i < 64; i++) strcat(text, "<a>");
  for (int i = 0; i < 64; i++) strcat(text, "</a>");
  smig_xml_free(parse(text));
  char deeper[1100];
  snprintf(deeper, sizeof deeper, "<a>%s</a>", text);
  refuses(deeper, strlen(deeper), "nested too deeply");
}

static void bounds_the_size(void) {
  size_t length = (64u << 20) + 1;
  char *text = malloc(length);
  memset(text, ' ', length);
  refuses(text, length, "64 MiB");
  memcpy(text, "<r>", 3); /* 16 million elements in 64 MiB */
  for (size_t i = 3; i + 8 < length; i += 4) memcpy(text + i, "<a/>", 4);
  refuses(text, length - 1, "too many elements");
  free(text);
}

static void a_large_text_is_whole(void) {
  size_t length = 5 << 20;
  char *text = malloc(length + 32), *c = text;
  c += sprintf(c, "<r><t>");
  for (size_t i = 0; i < length - 10; i++) *c++ = (char)('a' + i % 26);
  strcpy(c, "</t></r>");
  smig_xml_t *xml = parse(text);
  const smig_xml_node_t *node = smig_xml_child(smig_xml_root(xml), "t");
  CHECK(node && node->text_length == length - 10 && strncmp(node->text, text + 6, length - 10) == 0);
  smig_xml_free(xml);
  free(text);
}

static void decodes(void) {
  static const struct {
    const char *from, *to;
    bool plus;
  } cases[] = {{"a%2Fb%20c", "a/b c", false}, {"a+b", "a+b", false},
               {"a+b%2B", "a b+", true},      {"%e2%82%AC", "\xe2\x82\xac", false},
               {"100%", "100%", false},       {"%4", "%4", false},
               {"%zz%41", "%zzA", false},     {"", "", true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[64];
    strcpy(text, cases[i].from);
    size_t length = smig_s3_decode(text, strlen(text), cases[i].plus);
    CHECK(length == strlen(cases[i].to) && strcmp(text, cases[i].to) == 0, ": %s", cases[i].from);
  }
  char zero[] = "a%00b";
  CHECK(smig_s3_decode(zero, 5, false) == 3 && memcmp(zero, "a\0b", 3) == 0);
}

int main(void) {
  RUN(reads_a_listing);
  RUN(skips_keep_alives_and_prefixes);
  RUN(keeps_blanks_of_a_leaf);
  RUN(refuses_what_is_no_xml);
  RUN(refuses_bombs);
  RUN(bounds_the_depth);
  RUN(bounds_the_size);
  RUN(a_large_text_is_whole);
  RUN(decodes);
  return check_done();
}
